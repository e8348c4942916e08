<?php
// Waits at the gate before it opens the session, with its process id as the message, and counts.

require __DIR__ . '/page.php';

wait_at_gate((string) getmypid());
session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
session_write_close();
echo 'saved ', $_SESSION['n'];
