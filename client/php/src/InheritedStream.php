<?php

declare(strict_types=1);

namespace SessionServer;

/**
 * A stream inherited from a parent process, which continues to use it.
 *
 * When PHP closes a TLS stream, also at the end of a process, it sends a closing record, and the server would end the
 * connection of the parent too. PHP has no function that closes a descriptor without writing. This class therefore
 * calls the C library through the extension FFI. Without FFI the stream stays open until the end of the process.
 *
 * @internal
 */
final class InheritedStream
{
    private const LIBRARY = 'int open(const char *path, int flags, ...);'
        . ' int dup2(int from, int to); int close(int fd);';
    private const READ_AND_WRITE = 2; // O_RDWR

    /** @var list<resource> streams that must stay open until the process ends */
    private static array $open = [];

    /** Drops a stream without sending anything to the server. @param resource $stream */
    public static function drop($stream): void
    {
        set_error_handler(static fn (): bool => true);
        try {
            if (isset(stream_get_meta_data($stream)['crypto']) && !self::redirect($stream)) {
                self::$open[] = $stream;
                return;
            }
            fclose($stream);
        } finally {
            restore_error_handler();
        }
    }

    /**
     * Redirects the stream to /dev/null in this process, and reports whether that succeeded.
     *
     * @param resource $stream
     */
    private static function redirect($stream): bool
    {
        $fd = self::descriptor($stream);
        if ($fd === null || !extension_loaded('ffi')) {
            return false;
        }
        try {
            $c = \FFI::cdef(self::LIBRARY);
            $null = $c->open('/dev/null', self::READ_AND_WRITE);
            $redirected = $null >= 0 && $c->dup2($null, $fd) === $fd;
            $c->close($null);
            return $redirected;
        } catch (\FFI\Exception) { // disabled by ffi.enable
            return false;
        }
    }

    /** Returns the number of the stream's descriptor, or null if it is not found. @param resource $stream */
    private static function descriptor($stream): ?int
    {
        $target = fstat($stream);
        foreach ($target ? scandir('/dev/fd') ?: [] : [] as $fd) {
            $candidate = ctype_digit($fd) ? stat("/dev/fd/$fd") : false;
            if ($candidate && [$candidate['dev'], $candidate['ino']] === [$target['dev'], $target['ino']]) {
                return (int) $fd;
            }
        }
        return null;
    }
}
