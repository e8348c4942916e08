<?php
// Prints the user and a count.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
echo $_SESSION['user'] ?? 'anonymous', ' ', $_SESSION['n'];
