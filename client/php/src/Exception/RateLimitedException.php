<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * RATELIMITED: too many operations; the message says when to try again.
 */
class RateLimitedException extends ServerException
{
    /** Seconds after which the server takes the request, or null if it does not say. */
    public function retryIn(): ?float
    {
        return preg_match('/retry in (\d{1,9}) ms/', $this->serverMessage, $m) ? (int) $m[1] / 1000 : null;
    }
}
