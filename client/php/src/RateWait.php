<?php

declare(strict_types=1);

namespace SessionServer;

use SessionServer\Exception\RateLimitedException;
use SessionServer\Exception\ServerException;

/**
 * How long requests beyond a rate may still wait for their turn.
 *
 * @internal
 */
final class RateWait
{
    /** Seconds of the first pause. It doubles: others wait for the same rate, and a client with too many refusals is closed. */
    private const FIRST = 0.004;

    private readonly float $until;
    private float $pause = self::FIRST;

    public function __construct(float $seconds)
    {
        $this->until = Connection::now() + $seconds;
    }

    /** Waits as long as the refusal says, and reports whether it was worth it: not if that is too long. */
    public function wait(RateLimitedException $refusal): bool
    {
        $least = $refusal->retryIn();
        $left = $this->until - Connection::now();
        if ($least === null || $least >= $left) {
            return false;
        }
        usleep((int) ceil(1e6 * min(max($least, $this->pause), $left)));
        $this->pause *= 2;
        return true;
    }

    /**
     * The place of the first refusal for a rate, from a place on, if nothing behind it was done either.
     *
     * @param list<mixed> $replies
     */
    public static function of(#[\SensitiveParameter] array $replies, int $from): ?int
    {
        $refused = null;
        foreach (array_slice($replies, $from, null, true) as $i => $reply) {
            if ($refused !== null && !$reply instanceof ServerException) {
                return null;
            }
            $refused ??= $reply instanceof RateLimitedException ? $i : null;
        }
        return $refused;
    }
}
