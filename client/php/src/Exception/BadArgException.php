<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADARG: the number, form or range of arguments is wrong.
 */
class BadArgException extends ServerException
{
}
