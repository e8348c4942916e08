<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * The base class of all exceptions of this library. No message contains a secret or a session id.
 */
class SessionServerException extends \RuntimeException
{
}
