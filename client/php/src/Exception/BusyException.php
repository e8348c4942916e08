<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * BUSY: a session is open on this connection already.
 */
class BusyException extends ServerException
{
}
