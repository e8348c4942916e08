<?php
// Changes the session, waits at the gate before the save, and prints the result of the save.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
$_SESSION['filling'] = str_repeat(chr(64 + $_SESSION['n'] % 26), 100_000);
wait_at_gate((string) getmypid());
try {
    echo session_write_close() ? 'saved ' . $_SESSION['n'] : 'session_write_close() returned false';
} catch (Throwable $e) {
    echo get_class($e), ': ', $e->getMessage();
}
