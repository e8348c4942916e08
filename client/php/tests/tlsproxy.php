<?php

declare(strict_types=1);

/*
 * Terminates TLS in front of a server: php tlsproxy.php DIR ADDRESS [certificates]. It prints its own address. If
 * clients must have certificates, it also prints their common names.
 */
[, $dir, $server] = $argv;
$certificates = isset($argv[3]);
$context = stream_context_create(['ssl' => [
    'local_cert' => "$dir/server.pem",
    'local_pk' => "$dir/server.key",
    'cafile' => "$dir/ca.pem",
    'verify_peer' => $certificates,
    'verify_peer_name' => false,
    'capture_peer_cert' => $certificates,
]]);
$flags = STREAM_SERVER_BIND | STREAM_SERVER_LISTEN;
$listener = stream_socket_server('tcp://127.0.0.1:0', $number, $text, $flags, $context);
echo stream_socket_get_name($listener, false), "\n";
$peers = [];
$streams = [$listener];
while (true) {
    $ready = $streams;
    $write = $except = null;
    stream_select($ready, $write, $except, null);
    foreach ($ready as $stream) {
        if ($stream === $listener) {
            $client = stream_socket_accept($listener);
            if (!@stream_socket_enable_crypto($client, true, STREAM_CRYPTO_METHOD_TLS_SERVER)) {
                fclose($client);
                continue;
            }
            if ($certificates) {
                $certificate = stream_context_get_params($client)['options']['ssl']['peer_certificate'];
                echo openssl_x509_parse($certificate)['subject']['CN'], "\n";
            }
            $upstream = stream_socket_client("tcp://$server");
            stream_set_blocking($client, false);
            $streams[] = $client;
            $streams[] = $upstream;
            $peers[(int) $client] = $upstream;
            $peers[(int) $upstream] = $client;
            continue;
        }
        $peer = $peers[(int) $stream] ?? null;
        if ($peer === null) {
            continue;
        }
        $bytes = fread($stream, 1 << 16);
        stream_set_blocking($peer, true);
        if ($bytes !== '' && $bytes !== false) {
            fwrite($peer, $bytes);
        } elseif (feof($stream)) {
            unset($peers[(int) $stream], $peers[(int) $peer]);
            $streams = array_filter($streams, fn ($s) => $s !== $stream && $s !== $peer);
            fclose($stream);
            fclose($peer);
            continue;
        }
        stream_set_blocking($peer, false);
    }
}
