<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\RateLimitedException;
use SessionServer\Exception\ServerException;

/**
 * The remaining time in which requests beyond a rate limit may wait.
 *
 * @internal
 */
final class RateWait
{
    /**
     * The minimum seconds of the first wait. The minimum doubles each time, since other clients wait for the same rate
     * limit, and the server closes a connection with too many errors.
     */
    private const FIRST_PAUSE = 0.004;

    private readonly float $deadline;
    private float $pause = self::FIRST_PAUSE;

    public function __construct(float $seconds)
    {
        $this->deadline = Connection::now() + $seconds;
    }

    /** Waits for the delay in a refusal, and reports whether to retry. Returns false for a delay that is too long. */
    public function wait(RateLimitedException $refusal): bool
    {
        $least = $refusal->retryIn();
        $left = $this->deadline - Connection::now();
        if ($least === null || $least >= $left) {
            return false;
        }
        usleep((int) ceil(1e6 * min(max($least, $this->pause), $left)));
        $this->pause *= 2;
        return true;
    }

    /**
     * Returns the index of the first RATELIMITED reply at or after $from. Returns null if there is none, or if a later
     * request succeeded, so that the requests cannot be sent again.
     *
     * @param list<mixed> $replies
     */
    public static function firstRateLimited(#[\SensitiveParameter] array $replies, int $from): ?int
    {
        $index = null;
        foreach (array_slice($replies, $from, null, true) as $i => $reply) {
            if ($index !== null && !$reply instanceof ServerException) {
                return null;
            }
            $index ??= $reply instanceof RateLimitedException ? $i : null;
        }
        return $index;
    }
}
