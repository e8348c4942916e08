<?php

declare(strict_types=1);

/*
 * Forwards connections to a server: php proxy.php ADDRESS. It prints its own address. The line "freeze" on its input
 * stops the forwarding on all existing connections, which stay open. Later connections are forwarded.
 */
$listener = stream_socket_server('tcp://127.0.0.1:0');
echo stream_socket_get_name($listener, false), "\n";
$peers = [];
$streams = [STDIN, $listener];
$frozen = [];
while (true) {
    $ready = $streams;
    $write = $except = null;
    stream_select($ready, $write, $except, null);
    foreach ($ready as $stream) {
        if ($stream === STDIN) {
            if (fgets(STDIN) === false) {
                exit;
            }
            $frozen[] = $streams; // keeps the streams open
            $streams = [STDIN, $listener];
            echo "frozen\n";
        } elseif ($stream === $listener) {
            $pair = [stream_socket_accept($listener), stream_socket_client("tcp://$argv[1]")];
            array_push($streams, ...$pair);
            $peers[(int) $pair[0]] = $pair[1];
            $peers[(int) $pair[1]] = $pair[0];
        } elseif (in_array($stream, $streams, true)) {
            $peer = $peers[(int) $stream];
            $bytes = fread($stream, 1 << 16);
            if ($bytes !== '' && $bytes !== false) {
                fwrite($peer, $bytes);
            } else {
                $streams = array_filter($streams, static fn ($s) => $s !== $stream && $s !== $peer);
                fclose($stream);
                fclose($peer);
            }
        }
    }
}
