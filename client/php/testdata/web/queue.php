<?php
// Stops before it opens the session, counts, and says where it ran.

require __DIR__ . '/page.php';

stop_at_gate((string) getmypid());
session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
session_write_close();
echo 'saved ', $_SESSION['n'];
