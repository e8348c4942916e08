<?php
// Ends in the midst of a session, in one way or another.

require __DIR__ . '/page.php';

restore_error_handler();
session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
switch ($_GET['of']) {
    case 'memory':
        $all = [];
        while (true) {
            $all[] = str_repeat('x', 1 << 20);
        }
    case 'time':
        set_time_limit(1);
        while (true);
    case 'exception':
        throw new LogicException('nobody catches this');
    case 'exit':
        exit('gone');
    case 'signal': // as FPM's request_terminate_timeout does it
        posix_kill(getmypid(), 15);
        while (true);
}
