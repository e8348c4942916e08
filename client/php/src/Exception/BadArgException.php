<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADARG: an invalid number, form or range of arguments.
 */
class BadArgException extends ServerException
{
}
