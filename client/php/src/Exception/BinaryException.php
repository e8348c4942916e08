<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BINARY: a line cannot carry this. This client speaks RESP and does not see it.
 */
class BinaryException extends ServerException
{
}
