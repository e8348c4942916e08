<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * PROTOCOL: an invalid request.
 */
class ProtocolException extends ServerException
{
}
