<?php
// Increments a counter and appends to a list.

require __DIR__ . '/page.php';

session_start();
$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
$_SESSION['order'][] = $_GET['i'] ?? '?';
session_write_close();
echo $_SESSION['n'];
