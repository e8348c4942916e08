<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * UNKNOWN: the server has no such command.
 */
class UnknownCommandException extends ServerException
{
}
