<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * NOSESSION: the command needs an open session.
 */
class NoSessionException extends ServerException
{
}
