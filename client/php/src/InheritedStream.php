<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * A stream that this process has from the one that it is a fork of, which goes on using it.
 *
 * Closing a stream over TLS, which PHP also does at the end of a process, first writes a last record into the connection:
 * the server would end it for the parent as well. PHP has no function that closes a descriptor and writes nothing, so
 * this class asks the C library, by the extension FFI. Without FFI the stream stays open until the end of the process.
 *
 * @internal
 */
final class InheritedStream
{
    private const LIBRARY = 'int open(const char *path, int flags, ...); int dup2(int from, int to); int close(int fd);';
    private const READ_AND_WRITE = 2; // O_RDWR

    /** @var list<resource> streams that must not be closed before the process ends */
    private static array $kept = [];

    /** Lets go of a stream without a byte to the server. @param resource $stream */
    public static function drop($stream): void
    {
        set_error_handler(static fn (): bool => true);
        try {
            if (isset(stream_get_meta_data($stream)['crypto']) && !self::redirect($stream)) {
                self::$kept[] = $stream;
                return;
            }
            fclose($stream);
        } finally {
            restore_error_handler();
        }
    }

    /** Puts /dev/null behind the stream in this process, and reports whether that worked. @param resource $stream */
    private static function redirect($stream): bool
    {
        $fd = self::descriptor($stream);
        if ($fd === null || !extension_loaded('ffi')) {
            return false;
        }
        try {
            $c = \FFI::cdef(self::LIBRARY);
            $null = $c->open('/dev/null', self::READ_AND_WRITE);
            $done = $null >= 0 && $c->dup2($null, $fd) === $fd;
            $c->close($null);
            return $done;
        } catch (\FFI\Exception) { // ffi.enable does not allow it
            return false;
        }
    }

    /** The number of the stream's descriptor, or null if it is not to be found. @param resource $stream */
    private static function descriptor($stream): ?int
    {
        $wanted = fstat($stream);
        foreach ($wanted ? scandir('/dev/fd') ?: [] : [] as $fd) {
            $found = ctype_digit($fd) ? stat("/dev/fd/$fd") : false;
            if ($found && [$found['dev'], $found['ino']] === [$wanted['dev'], $wanted['ino']]) {
                return (int) $fd;
            }
        }
        return null;
    }
}
