<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADAUTH: the credentials are not good, whatever of them is wrong.
 */
class BadAuthException extends ServerException
{
}
