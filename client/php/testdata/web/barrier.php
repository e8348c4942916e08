<?php
// Stops inside the session.

require __DIR__ . '/page.php';

session_start();
stop_at_gate((string) ($_SESSION['n'] ?? 'no n'));
echo 'n is ', $_SESSION['n'];
session_abort();
