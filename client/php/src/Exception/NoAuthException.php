<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOAUTH: the connection has not authenticated, or its tenant is not served any more.
 */
class NoAuthException extends ServerException
{
}
