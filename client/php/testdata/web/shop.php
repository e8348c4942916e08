<?php
// A minimal shop, where a visitor logs in, adds things to a cart and logs out.

require __DIR__ . '/page.php';

session_start();
switch ($_SERVER['REQUEST_METHOD'] === 'POST' ? $_POST['do'] : 'look') {
    case 'login':
        session_regenerate_id(true);
        $_SESSION['user'] = $_POST['user'];
        break;
    case 'add':
        $_SESSION['cart'][] = $_POST['thing'];
        break;
    case 'logout':
        session_destroy();
        $_SESSION = [];
        break;
}
if (session_status() === PHP_SESSION_ACTIVE) {
    session_write_close();
}
header('Content-Type: text/html; charset=utf-8');
$e = static fn(string $text): string => htmlspecialchars($text, ENT_QUOTES);
?>
<!DOCTYPE html>
<html lang="en">
<title>Shop</title>
<p id="host"><?= $e(getenv('WEB_HOST')) ?></p>
<?php if (isset($_SESSION['user'])): ?>
<p>You are <b id="user"><?= $e($_SESSION['user']) ?></b>.</p>
<ul id="cart">
<?php foreach ($_SESSION['cart'] ?? [] as $thing): ?><li><?= $e($thing) ?></li><?php endforeach ?>
</ul>
<form method="post"><input name="thing" id="thing"><button name="do" value="add" id="add">Add</button></form>
<form method="post"><button name="do" value="logout" id="logout">Log out</button></form>
<?php else: ?>
<form method="post"><input name="user" id="name"><button name="do" value="login" id="login">Log in</button></form>
<?php endif ?>
</html>
