<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BADAUTH: invalid credentials. The server does not report which part is wrong.
 */
class BadAuthException extends ServerException
{
}
