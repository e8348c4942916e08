<?php

declare(strict_types=1);

namespace SessionServer\Exception;

/**
 * An error reply of the server. Each code of the protocol has a subclass; this class stands for unknown codes.
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
        $prefix = $command === '' ? '' : "$command: ";
        $suffix = $advice === '' ? '' : " ($advice)";
        parent::__construct("sessionserver: $prefix$errorCode $serverMessage$suffix");
    }

    /** @internal Returns a copy with advice after the server's message. */
    public function advise(string $advice): static
    {
        return new static($this->errorCode, $this->serverMessage, $this->command, $advice);
    }

    /** Returns the exception for an error reply, "CODE message", to a command. */
    public static function fromReply(string $reply, string $command = ''): self
    {
        [$code, $message] = explode(' ', $reply, 2) + [1 => ''];
        $class = self::CLASSES[$code] ?? self::class;
        return new $class($code, $message, $command);
    }

    /** @return list<string> the codes with a class */
    public static function codes(): array
    {
        return array_keys(self::CLASSES);
    }
}
