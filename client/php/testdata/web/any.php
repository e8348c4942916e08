<?php
// Counts in the session of the owner in the request, and ends in the requested way.

require __DIR__ . '/page.php';

restore_error_handler();
try {
    session_start();
    if (($_SESSION['owner'] ?? $_GET['owner']) !== $_GET['owner']) {
        exit('the session belongs to ' . $_SESSION['owner']);
    }
    $_SESSION['owner'] = $_GET['owner'];
    $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
    switch ($_GET['end']) {
        case 'kill':
            posix_kill(getmypid(), 9);
            while (true);
        case 'memory':
            $all = [];
            while (true) {
                $all[] = str_repeat('x', 1 << 20);
            }
        case 'regenerate':
            session_regenerate_id(true);
            break;
        case 'abort':
            session_abort();
            exit('aborted');
    }
    echo session_write_close() ? 'saved ' . $_SESSION['n'] : 'session_write_close() returned false';
} catch (Throwable $e) {
    echo get_class($e), ': ', $e->getMessage();
}
