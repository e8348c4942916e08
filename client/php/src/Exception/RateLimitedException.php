<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * RATELIMITED: too many operations. The message contains the delay after which to retry.
 */
class RateLimitedException extends ServerException
{
    /** Returns the seconds after which the server accepts the request, or null if the message has none. */
    public function retryIn(): ?float
    {
        return preg_match('/retry in (\d{1,9}) ms/', $this->serverMessage, $m) ? (int) $m[1] / 1000 : null;
    }
}
