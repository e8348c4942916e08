<?php
// The beginning of every page, and the gate at which a page waits until the test lets it pass.

declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');
header('X-Host: ' . getenv('WEB_HOST'));
header('X-Worker: ' . getmypid());

set_error_handler(static function (int $level, string $message): bool {
    throw new ErrorException($message);
});

function wait_at_gate(string $message): void
{
    $gate = stream_socket_client('unix://' . getenv('GATE'));
    stream_set_timeout($gate, 120);
    fwrite($gate, $message . "\n");
    if (fgets($gate) === false) {
        throw new RuntimeException('the test has ended');
    }
}
