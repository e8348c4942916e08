<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * An error that the server has answered. Each code has a class of its own; a code that this version does not know yet
 * is this class.
 */
class ServerException extends SessionServerException
{
    private const CLASSES = [
        'NOAUTH' => NoAuthException::class,
        'BADAUTH' => BadAuthException::class,
        'TLSREQUIRED' => TlsRequiredException::class,
        'IPDENIED' => IpDeniedException::class,
        'DENIED' => DeniedException::class,
        'RATELIMITED' => RateLimitedException::class,
        'QUOTA' => QuotaException::class,
        'NOSESSION' => NoSessionException::class,
        'BUSY' => BusyException::class,
        'NOTFOUND' => NotFoundException::class,
        'NOKEY' => NoKeyException::class,
        'READONLY' => ReadOnlyException::class,
        'LOCKTIMEOUT' => LockTimeoutException::class,
        'LOCKLOST' => LockLostException::class,
        'BADID' => BadIdException::class,
        'BADKEY' => BadKeyException::class,
        'BADARG' => BadArgException::class,
        'TOOLARGE' => TooLargeException::class,
        'BINARY' => BinaryException::class,
        'UNKNOWN' => UnknownCommandException::class,
        'PROTOCOL' => ProtocolException::class,
        'UNAVAILABLE' => UnavailableException::class,
        'SHUTDOWN' => ShutdownException::class,
        'INTERNAL' => InternalException::class,
    ];

    final public function __construct(
        public readonly string $errorCode,
        public readonly string $serverMessage,
        private readonly string $command = '',
        string $advice = '',
    ) {
        parent::__construct('sessionserver: ' . ($command === '' ? '' : $command . ': ') . $errorCode . ' ' . $serverMessage
            . ($advice === '' ? '' : " ($advice)"));
    }

    /** @internal The same with a piece of advice behind what the server says. */
    public function advise(string $advice): static
    {
        return new static($this->errorCode, $this->serverMessage, $this->command, $advice);
    }

    /**
     * Makes the exception for an error reply, "CODE message", to a command.
     */
    public static function fromReply(string $reply, string $command = ''): self
    {
        [$code, $message] = explode(' ', $reply, 2) + [1 => ''];
        $class = self::CLASSES[$code] ?? self::class;
        return new $class($code, $message, $command);
    }

    /** @return list<string> every code that has a class */
    public static function codes(): array
    {
        return array_keys(self::CLASSES);
    }
}
