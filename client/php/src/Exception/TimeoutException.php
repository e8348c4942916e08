<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * The server did not reply in time. The connection is closed, and the server drops unsaved changes.
 */
class TimeoutException extends ConnectionException
{
}
