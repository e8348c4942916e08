<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * The session holds what its format cannot carry. What was stored before stays as it was.
 */
class EncodingException extends SessionServerException
{
}
