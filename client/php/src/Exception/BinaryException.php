<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BINARY: a value that cannot be sent in a line. This client uses RESP and never gets this error.
 */
class BinaryException extends ServerException
{
}
