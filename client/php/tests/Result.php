<?php

declare(strict_types=1);

namespace SessionServer\Tests;

/**
 * The result of a request.
 */
final class Result
{
    public function __construct(
        public readonly mixed $result,
        public readonly string $id,
        public readonly ?array $session,
        public readonly int $roundTrips,
        public readonly string $printed, // with errors and warnings
    ) {
    }
}
