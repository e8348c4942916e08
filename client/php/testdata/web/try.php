<?php
// Counts, and prints an exception.

require __DIR__ . '/page.php';

try {
    session_start();
    $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
    echo session_write_close() ? 'saved ' . $_SESSION['n'] : 'session_write_close() returned false';
} catch (Throwable $e) {
    echo get_class($e), ': ', $e->getMessage();
}
