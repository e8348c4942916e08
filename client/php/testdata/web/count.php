<?php
// Adds to a counter and to a list: reads, changes, writes.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
$_SESSION['order'][] = $_GET['i'] ?? '?';
session_write_close();
echo $_SESSION['n'];
