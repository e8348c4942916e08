<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * The conversion between $_SESSION and the values of a session on the server. An object holds the state of one session,
 * the one loaded last.
 *
 * @internal
 */
interface Format
{
    /** @return non-empty-list<string> the request that reads a session */
    public function request(): array;

    /**
     * Loads the reply to that request, or null for a new session, and returns the result for PHP's read handler.
     *
     * @throws Exception\EncodingException
     */
    public function load(mixed $reply): string;

    /**
     * Returns the requests that store the changes since load(), none if nothing has changed.
     *
     * @param string $data the argument of PHP's write handler
     * @return list<non-empty-list<string>>
     * @throws Exception\EncodingException
     */
    public function save(#[\SensitiveParameter] string $data): array;
}
