<?php
// What every page begins with, and the gate at which a page stops until the test lets it go on.

declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');
header('X-Host: ' . getenv('WEB_HOST'));
header('X-Worker: ' . getmypid());

set_error_handler(static function (int $level, string $message): bool {
    throw new ErrorException($message);
});

function stop_at_gate(string $say): void
{
    $gate = stream_socket_client('unix://' . getenv('GATE'));
    stream_set_timeout($gate, 120);
    fwrite($gate, $say . "\n");
    if (fgets($gate) === false) {
        throw new RuntimeException('the test is over');
    }
}
