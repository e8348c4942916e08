<?php
/*
 * Measures session_start … session_write_close in this process, with 2 KiB of data that changes each time.
 *
 *     php cycle.php sessionserver|redis SAVE_PATH CYCLES
 *
 * prints as JSON, in microseconds, the median time of a cycle and the processor time of this process per cycle.
 */

declare(strict_types=1);

[, $handler, $path, $cycles] = $argv;
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');
ini_set('session.gc_probability', '0');
ini_set('session.save_path', $path);
if ($handler === 'sessionserver') {
    require __DIR__ . '/../autoload.php';
    SessionServer\SaveHandler::register();
} else {
    ini_set('session.save_handler', $handler);
}

$noise = bin2hex(random_bytes(2048));
session_start();
$id = session_id();
$_SESSION['data'] = '';
session_write_close();

$cycle = static function (int $i) use ($noise, $id): void {
    session_id($id);
    session_start();
    if ($i > 0 && strlen($_SESSION['data']) !== 2048) {
        throw new UnexpectedValueException('the session differs from the saved one');
    }
    $_SESSION['data'] = substr($noise, $i % 2048, 2048);
    if (!session_write_close()) {
        throw new UnexpectedValueException('the session was not saved');
    }
};
for ($i = 0; $i < 200; $i++) { // warm-up
    $cycle($i);
}
$cpu = static function (): float {
    $u = getrusage();
    return ($u['ru_utime.tv_sec'] + $u['ru_stime.tv_sec']) * 1e6 + $u['ru_utime.tv_usec'] + $u['ru_stime.tv_usec'];
};
$times = [];
$before = $cpu();
for ($i = 1; $i <= $cycles; $i++) {
    $start = hrtime(true);
    $cycle($i);
    $times[] = hrtime(true) - $start;
}
$used = $cpu() - $before;
sort($times);
echo json_encode([
    'median' => $times[intdiv(count($times), 2)] / 1e3,
    'cpu' => $used / count($times),
]), "\n";
