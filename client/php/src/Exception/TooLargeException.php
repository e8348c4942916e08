<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * TOOLARGE: a size beyond a limit.
 */
class TooLargeException extends ServerException
{
}
