<?php
// Tells who is logged in, and counts.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
echo $_SESSION['user'] ?? 'nobody', ' ', $_SESSION['n'];
