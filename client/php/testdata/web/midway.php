<?php
// Changes the session, stops before it is saved, and tells what came of saving it.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
$_SESSION['filling'] = str_repeat(chr(64 + $_SESSION['n'] % 26), 100_000);
stop_at_gate((string) getmypid());
try {
    echo session_write_close() ? 'saved ' . $_SESSION['n'] : 'session_write_close() answers false';
} catch (Throwable $e) {
    echo get_class($e), ': ', $e->getMessage();
}
