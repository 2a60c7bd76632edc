//! The calls into libpam, and nothing else: all the `unsafe` there is in the programs, behind functions that need none.
//!
//! The library is loaded when it is asked for, so that no program depends on it. What it is called with is what
//! `<security/pam_appl.h>` of Linux-PAM says, which has not changed since there has been a `libpam.so.0`.
#![expect(unsafe_code, reason = "it calls a library of C")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;

use libloading::Library;

/// The name under which every Linux-PAM is found.
pub(crate) const NAME: &str = "libpam.so.0";

/// What functions return when all went well.
pub(crate) const SUCCESS: c_int = 0;
/// There is no such user for PAM.
pub(crate) const USER_UNKNOWN: c_int = 10;
/// The password has to be changed first.
pub(crate) const NEW_AUTHTOK_REQD: c_int = 12;
/// Setting credentials failed.
pub(crate) const CRED_ERR: c_int = 17;
/// What a conversation says to questions here.
const CONV_ERR: c_int = 19;
const BUF_ERR: c_int = 5;

const ESTABLISH_CRED: c_int = 0x2;
const DELETE_CRED: c_int = 0x4;
const ITEM_USER: c_int = 2;
const ITEM_TTY: c_int = 3;
const ERROR_MSG: c_int = 3;
const TEXT_INFO: c_int = 4;

/// `struct pam_message`.
#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

/// `struct pam_response`.
#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

/// `struct pam_conv`.
#[repr(C)]
struct Conversation {
    converse:
        unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

type Start = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const Conversation,
    *mut *mut c_void,
) -> c_int;
type Step = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type SetItem = unsafe extern "C" fn(*mut c_void, c_int, *const c_void) -> c_int;
type GetItem = unsafe extern "C" fn(*const c_void, c_int, *mut *const c_void) -> c_int;
type GetEnvList = unsafe extern "C" fn(*mut c_void) -> *mut *mut c_char;
type StrError = unsafe extern "C" fn(*mut c_void, c_int) -> *const c_char;

unsafe extern "C" {
    fn calloc(count: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
}

/// What modules said, lines of text.
type Said = RefCell<Vec<String>>;

/// A transaction with PAM. What its functions return is as PAM has it: [`SUCCESS`], or what [`Pam::explain`] explains.
pub(crate) struct Pam {
    handle: *mut c_void,
    said: Rc<Said>,
    last: c_int,
    functions: Functions,
    /// Loaded as long as the functions may be called.
    _library: Library,
}

/// What is called once there is a transaction.
#[derive(Clone, Copy)]
struct Functions {
    acct_mgmt: Step,
    setcred: Step,
    open_session: Step,
    close_session: Step,
    end: Step,
    set_item: SetItem,
    get_item: GetItem,
    getenvlist: GetEnvList,
    strerror: StrError,
}

impl Pam {
    /// Begins a transaction.
    ///
    /// # Errors
    /// With a sentence: there is no library, or it begins none.
    pub(crate) fn start(service: &CStr, user: &CStr) -> Result<Self, String> {
        // SAFETY: what libpam does when it is loaded is what it does in every program that is linked with it.
        let library = unsafe { Library::new(NAME) };
        let library = library.map_err(|error| format!("it cannot be loaded: {error}"))?;
        let start: Start = symbol(&library, c"pam_start")?;
        let functions = Functions {
            acct_mgmt: symbol(&library, c"pam_acct_mgmt")?,
            setcred: symbol(&library, c"pam_setcred")?,
            open_session: symbol(&library, c"pam_open_session")?,
            close_session: symbol(&library, c"pam_close_session")?,
            end: symbol(&library, c"pam_end")?,
            set_item: symbol(&library, c"pam_set_item")?,
            get_item: symbol(&library, c"pam_get_item")?,
            getenvlist: symbol(&library, c"pam_getenvlist")?,
            strerror: symbol(&library, c"pam_strerror")?,
        };
        let said = Rc::new(Said::default());
        let conversation = Conversation {
            converse,
            data: Rc::as_ptr(&said).cast_mut().cast(),
        };
        let mut handle = ptr::null_mut();
        // SAFETY: all pointers are to what lives; the library copies the texts and the conversation, and what that points to
        // lives until the transaction has ended.
        let code = unsafe { start(service.as_ptr(), user.as_ptr(), &conversation, &mut handle) };
        if code != SUCCESS || handle.is_null() {
            return Err(format!(
                "pam_start failed ({code}): is there a service of this name?"
            ));
        }
        Ok(Self {
            handle,
            said,
            last: code,
            functions,
            _library: library,
        })
    }

    /// Says on which terminal the session is; services without one use a word.
    pub(crate) fn set_tty(&mut self, name: &CStr) -> c_int {
        // SAFETY: the transaction lives, and the library copies the text.
        self.last = unsafe {
            (self.functions.set_item)(self.handle, ITEM_TTY, name.as_ptr().cast::<c_void>())
        };
        self.last
    }

    /// Whether the account may be used now.
    pub(crate) fn acct_mgmt(&mut self) -> c_int {
        self.step(self.functions.acct_mgmt, 0)
    }

    /// Gives this process what the user is recognised by, beside its ids.
    pub(crate) fn establish_credentials(&mut self) -> c_int {
        self.step(self.functions.setcred, ESTABLISH_CRED)
    }

    pub(crate) fn delete_credentials(&mut self) -> c_int {
        self.step(self.functions.setcred, DELETE_CRED)
    }

    pub(crate) fn open_session(&mut self) -> c_int {
        self.step(self.functions.open_session, 0)
    }

    pub(crate) fn close_session(&mut self) -> c_int {
        self.step(self.functions.close_session, 0)
    }

    fn step(&mut self, function: Step, flags: c_int) -> c_int {
        // SAFETY: the transaction lives as long as `self`.
        self.last = unsafe { function(self.handle, flags) };
        self.last
    }

    /// The user as modules have it by now.
    pub(crate) fn user(&self) -> Option<CString> {
        let mut item = ptr::null();
        // SAFETY: the transaction lives; what it gives is its own and copied at once.
        unsafe {
            let code = (self.functions.get_item)(self.handle, ITEM_USER, &mut item);
            (code == SUCCESS && !item.is_null()).then(|| CStr::from_ptr(item.cast()).to_owned())
        }
    }

    /// The variables of the session, as `NAME=VALUE`.
    pub(crate) fn env(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        // SAFETY: the list is ours, as are its texts: each was made by `malloc`, and the last is null.
        unsafe {
            let list = (self.functions.getenvlist)(self.handle);
            if list.is_null() {
                return found;
            }
            let mut at = list;
            while !(*at).is_null() {
                found.push(CStr::from_ptr(*at).to_bytes().to_vec());
                free((*at).cast());
                at = at.add(1);
            }
            free(list.cast());
        }
        found
    }

    /// What a code means.
    pub(crate) fn explain(&self, code: c_int) -> String {
        // SAFETY: the text is one of the library's own, and copied at once.
        unsafe {
            let text = (self.functions.strerror)(self.handle, code);
            match text.is_null() {
                true => format!("error {code}"),
                false => CStr::from_ptr(text).to_string_lossy().into_owned(),
            }
        }
    }

    /// What modules have said since this was asked last.
    pub(crate) fn take_said(&mut self) -> Vec<String> {
        self.said.take()
    }
}

impl Drop for Pam {
    fn drop(&mut self) {
        // SAFETY: the transaction lives until here, and nothing of it is used any more.
        let _code = unsafe { (self.functions.end)(self.handle, self.last) };
    }
}

fn symbol<F: Copy>(library: &Library, name: &CStr) -> Result<F, String> {
    // SAFETY: who asks gives the type that the function of this name has.
    let found = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    found
        .map(|symbol| *symbol)
        .map_err(|error| format!("it lacks {}: {error}", name.to_string_lossy()))
}

/// Keeps what is said, and answers nothing: nobody is there to be asked.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    let Ok(count) = usize::try_from(count) else {
        return CONV_ERR;
    };
    if messages.is_null() || responses.is_null() || data.is_null() {
        return CONV_ERR;
    }
    // SAFETY: Linux-PAM gives an array of `count` pointers to messages, and `data` as it got it from `Pam::start`.
    unsafe {
        let said = &*data.cast::<Said>();
        for at in 0..count {
            let message = &**messages.add(at);
            if !matches!(message.style, ERROR_MSG | TEXT_INFO) {
                return CONV_ERR;
            }
            if !message.text.is_null() {
                let text = CStr::from_ptr(message.text).to_string_lossy();
                said.borrow_mut().push(text.into_owned());
            }
        }
        // The caller frees it.
        let empty = calloc(count.max(1), size_of::<Response>()).cast::<Response>();
        if empty.is_null() {
            return BUF_ERR;
        }
        *responses = empty;
    }
    SUCCESS
}
