<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * TOOLARGE: a limit on sizes is passed.
 */
class TooLargeException extends ServerException
{
}
