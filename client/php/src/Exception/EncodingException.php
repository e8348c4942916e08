<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * A session with a value that its format cannot store. The stored session is unchanged.
 */
class EncodingException extends SessionServerException
{
}
