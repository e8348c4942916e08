<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOAUTH: the connection is not authenticated, or its tenant no longer exists.
 */
class NoAuthException extends ServerException
{
}
