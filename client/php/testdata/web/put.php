<?php
// Stores the body of the request in the session.

require __DIR__ . '/page.php';

session_start();
$_SESSION['data'] = file_get_contents('php://input');
$_SESSION["k\0e\r\ny 🗝️"] = ['🦊', 'größer', "\xff\xfe", new ArrayObject([1, null, -0.5])];
try {
    echo session_write_close() ? 'saved ' . strlen(session_encode()) : 'session_write_close() returned false';
} catch (Throwable $e) {
    echo get_class($e), ': ', $e->getMessage();
}
