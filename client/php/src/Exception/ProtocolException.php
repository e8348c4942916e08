<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * PROTOCOL: what was sent is not a request.
 */
class ProtocolException extends ServerException
{
}
