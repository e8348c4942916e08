<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * The server did not answer in time. The connection is closed, which drops what was not saved.
 */
class TimeoutException extends ConnectionException
{
}
