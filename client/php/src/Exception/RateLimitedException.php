<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * RATELIMITED: too many operations; the message says when to try again.
 */
class RateLimitedException extends ServerException
{
}
