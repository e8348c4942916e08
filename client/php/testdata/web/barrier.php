<?php
// Waits at the gate with an open session.

require __DIR__ . '/page.php';

session_start();
wait_at_gate((string) ($_SESSION['n'] ?? 'no n'));
echo 'n is ', $_SESSION['n'];
session_abort();
