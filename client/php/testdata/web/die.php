<?php
// Ends during an open session, in the requested way.

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
        throw new LogicException('uncaught exception');
    case 'exit':
        exit('exit');
    case 'signal': // like FPM's request_terminate_timeout
        posix_kill(getmypid(), 15);
        while (true);
}
