<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * What every exception of this library is. No message ever holds a secret or a session id.
 */
class SessionServerException extends \RuntimeException
{
}
