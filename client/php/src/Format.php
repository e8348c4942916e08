<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * How $_SESSION becomes values of a session, and back. An object of it knows one session at a time: what was loaded last.
 *
 * @internal
 */
interface Format
{
    /** @return non-empty-list<string> the request that reads a session */
    public function request(): array;

    /**
     * Takes the reply to it, or null for a new session, and answers what PHP's read handler is to answer.
     *
     * @throws Exception\EncodingException
     */
    public function load(mixed $reply): string;

    /**
     * Answers the requests that make of what was loaded what is to be stored now: none if nothing has changed.
     *
     * @param string $data what PHP has given to the write handler
     * @return list<non-empty-list<string>>
     * @throws Exception\EncodingException
     */
    public function save(#[\SensitiveParameter] string $data): array;
}
